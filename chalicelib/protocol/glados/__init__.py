"""GLADOS (draft-rosenberg-mimi-glados-01) as values: identifiers, mappings, codes, tokens, filters, claims."""
