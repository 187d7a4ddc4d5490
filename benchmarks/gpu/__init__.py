"""The convolution on a GPU beside plain torch and two floors, search on it, and training steps.

    python -m benchmarks.gpu                 # all; results/gpu.csv and the section of BENCHMARKS.md
    python -m benchmarks.gpu --report-only   # the section from the results that there are, empty where there are none

The floor of a pass is the longer of two times: its inputs, output and gradients once over the bandwidth of a copy, and
its useful FLOPs over the rate of a 4096³ product in the same precision, both measured in the same run.
"""
