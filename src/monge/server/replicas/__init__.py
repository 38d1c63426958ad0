"""`monge serve --replicas`: several processes on Ray, and the proxy in front of them."""
