"""Images packed into shards in LitData's format: written, checked, fetched, read at random."""
