"""Images as data: files, arrays and tables of them, decoded and resized."""
