"""The former name of `resnet_bench.gate`, for projects that import `regression.benchmark`; one release more."""
