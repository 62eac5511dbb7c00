"""The page as a small site: report.html, and a file a chapter in pages/. It opens from the disk and loads nothing else.

To add a chapter: its line in chapters.py. What a section of the catalogue shows stands in that section's chapter.
"""
