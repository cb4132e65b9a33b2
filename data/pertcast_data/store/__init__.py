"""The expression store: profiles on disk, readable by AnnData, trusted by their manifest."""

from pertcast_data.store.append import append_rows
from pertcast_data.store.compact import compact_store
from pertcast_data.store.create import create_store
from pertcast_data.store.expression_store import ExpressionStore
from pertcast_data.store.info import StoreInfo
from pertcast_data.store.manifest import Manifest, ShardRecord, commit_manifest, read_manifest
from pertcast_data.store.readers import RowReader
from pertcast_data.store.validate import Problem, require_valid_store, validate_store
from pertcast_data.store.zarr_layout import create_dense_group, write_dense_shard, write_obs

__all__ = [
    "ExpressionStore",
    "Manifest",
    "Problem",
    "RowReader",
    "ShardRecord",
    "StoreInfo",
    "append_rows",
    "commit_manifest",
    "compact_store",
    "create_dense_group",
    "create_store",
    "read_manifest",
    "require_valid_store",
    "validate_store",
    "write_dense_shard",
    "write_obs",
]
