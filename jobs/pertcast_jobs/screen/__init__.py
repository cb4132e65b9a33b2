"""Virtual screens: a library x contexts x doses x times, predicted shard by shard, exactly once.

`plan` decides what is predicted, `shards` predicts one shard, an executor runs the shards, `output`
writes what they add up to.
"""
