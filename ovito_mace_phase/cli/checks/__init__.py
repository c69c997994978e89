"""What `doctor` looks at, one file each: packages, model file, processor and GPU, OVITO, answers, kernels."""
