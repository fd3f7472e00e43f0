"""The MIMI delivery service's wire and rules (draft-robert-mimi-delivery-service-02)."""
