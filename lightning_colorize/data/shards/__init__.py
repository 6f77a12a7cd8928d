"""Images packed into shards in LitData's format: writing, checking, fetching, random access."""
