"""The work of `pertcast data networks`: what network files hold, and methods judged by held-out edges."""
