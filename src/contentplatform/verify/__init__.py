"""Is everything there and healthy? Puts real files through a running home and looks at what comes out."""
