"""One frame from positions to phases: settings, the three stages, denoising, the result."""
