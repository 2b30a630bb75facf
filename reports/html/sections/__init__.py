"""The sections of a run's page: each gives what its template takes, and its charts."""
