"""What the library is measured against, one file each: LABEL, ``prepare`` and ``expected_bytes``."""
