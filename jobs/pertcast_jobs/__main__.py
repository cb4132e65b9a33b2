"""`python -m pertcast_jobs` is `pertcast`."""

from pertcast_jobs.cli import main

if __name__ == "__main__":
    main()
