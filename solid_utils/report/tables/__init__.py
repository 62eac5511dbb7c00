"""The study's tables, a file a family; `catalogue` lists them. To add one: its function, its line in the family."""
