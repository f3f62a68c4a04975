"""The codec server: shows operators in Temporal's own pages what the payloads of a workflow say, once they have logged in."""
