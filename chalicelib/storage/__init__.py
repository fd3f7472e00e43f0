"""Adapters, one file per port; the only importers of boto3, botocore and pynamodb."""
