"""${message}"""

% if not upgrades or "sa." in f"{upgrades}{downgrades}":
import sqlalchemy as sa
% endif
${f"from alembic import op\n{imports or ''}".replace("op\nfrom alembic import context, util", "context, op, util")}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
% if branch_labels:
branch_labels = ${repr(branch_labels)}
% endif
% if depends_on:
depends_on = ${repr(depends_on)}
% endif


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
