"""What the published runs did, for `--recipe flagperf` and for benchmarks to measure the faster ways against."""
