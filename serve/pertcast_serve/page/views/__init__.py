"""The views of the page, a file a subject; each names its views and parts in `VIEWS`."""
