"""One run as several processes: on one machine, by torchrun or by SLURM."""
