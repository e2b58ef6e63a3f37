"""Tests, in the rooms of the package that they test; `conftest` and `studies` are shared by all."""
