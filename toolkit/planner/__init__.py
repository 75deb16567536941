"""Many scenarios at once: formulas beside simulations, sweeps, the published drivers."""
