"""The composition root: settings in, a running platform out. The only room that names adapters, and only lazily."""

from contentplatform.app.aws import AwsHome, bucket_names, bucket_regions, open_aws
from contentplatform.app.home import PROCESSED_KINDS, SCRATCH_FOLDER_NAME, Home, Platform
from contentplatform.app.local import (
    DATABASE_FILE_NAME,
    LocalHome,
    class_folders,
    local_schemas,
    open_database,
    open_local,
)
from contentplatform.app.people import LatePeople, People, open_accounts

__all__ = [
    "DATABASE_FILE_NAME",
    "PROCESSED_KINDS",
    "SCRATCH_FOLDER_NAME",
    "AwsHome",
    "Home",
    "LatePeople",
    "LocalHome",
    "People",
    "Platform",
    "bucket_names",
    "bucket_regions",
    "class_folders",
    "local_schemas",
    "open_accounts",
    "open_aws",
    "open_database",
    "open_local",
]
