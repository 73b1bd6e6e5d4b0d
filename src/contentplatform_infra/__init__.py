"""The home on AWS as templates: CDK stacks that wire and tag one construct a capability."""
