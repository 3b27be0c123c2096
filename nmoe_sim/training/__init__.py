"""When meets what, stage by stage: extractor, experts, gate."""
