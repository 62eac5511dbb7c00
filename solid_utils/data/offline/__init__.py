"""Customization data without the hub: one source a file, domains in configs/domains.yaml.

In: installed packages, and the raw data folder.
Out: items of one domain, disjoint sets by one seeded draw.
Public: offline.split, offline.write.
"""
