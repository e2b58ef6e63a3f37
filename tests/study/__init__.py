"""One study: its runs, its folder, its owners."""
