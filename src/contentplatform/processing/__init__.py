"""Make renditions and find out what a file is."""
