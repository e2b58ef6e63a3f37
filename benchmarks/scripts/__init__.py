"""Measurements that are made once in a while, each by itself."""
