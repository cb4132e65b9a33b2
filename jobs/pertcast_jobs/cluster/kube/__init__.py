"""Pertcast on Kubernetes: RayJobs made from commands, the Ray kinds as typed models, checks of manifests."""
