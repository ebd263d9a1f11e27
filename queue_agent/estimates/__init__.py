"""What jobs will take: learned by agents from their runs, read by whoever is asked at submit."""
