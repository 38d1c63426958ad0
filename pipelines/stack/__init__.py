"""All servers of a checkout on one machine: `make up`, `make down`, `make status`.

table.py has the servers; settings.py and passwords.py what is chosen and what is secret;
supervisor.py keeps them running; up.py, down.py and status.py are the three commands.
"""
