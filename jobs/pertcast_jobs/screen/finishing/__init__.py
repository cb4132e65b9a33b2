"""The end of a screen: what finished shards add up to, streamed, and the manifest that completes it."""
