"""What asv times (asv.conf.json): fastdist's calls of cases.py, from commit to commit."""
