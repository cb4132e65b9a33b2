"""How the matrix of a store is built: batches become sorted runs, and runs become whole shards.

An external sort: the final place of every row is known beforehand, so that any worker can sort any part
of the source, and any worker can write any shard.
"""
