"""Find, open and check photos in folders, in archives and at addresses."""
