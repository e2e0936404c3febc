"""What the mail module itself sends."""

from courtyard.kernel.mail.schemas import Template

# To whoever tries the settings: `courtyard mail test`.
TEST = Template(name="mail.test", of_workspaces=False)

MAILS = (TEST,)
