"""The HTTP side: the API, the pages, and what mounts the rooms' own servers beside them."""
