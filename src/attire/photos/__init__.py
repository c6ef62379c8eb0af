"""Where photos come from: folders, archives and addresses are listed, opened and checked here, and nowhere else."""
