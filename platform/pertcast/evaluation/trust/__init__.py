"""The trust table: verdict, intervals, parts and notes, as lines and as JSON."""
