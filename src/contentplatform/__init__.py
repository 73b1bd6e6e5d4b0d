"""Content Platform: keeps a media team's files, makes the renditions the web needs, and loses nothing."""

__version__ = "0.1.0"
