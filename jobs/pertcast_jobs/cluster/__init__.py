"""Running Pertcast commands as jobs of a cluster: over the Ray Jobs API, or as RayJobs of Kubernetes."""
