"""When meets what, request by request: arrivals, routing, service, answers."""
