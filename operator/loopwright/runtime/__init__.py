"""What runs inside Ray pods: the driver on the head, a worker in each training pod."""
