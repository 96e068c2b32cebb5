"""Run trials: by Ray Tune, in this process, or on distant nodes."""
