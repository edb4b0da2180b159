"""What the tests of tools share: a work directory, its tools by name, and a context to call them in."""

import pytest

from trouper.actors.permissions import PermissionPolicy
from trouper.actors.tool import ToolContext
from trouper.actors.tool_place import ToolPlace
from trouper.adapters import tools_calc, tools_files, tools_reply, tools_text
from trouper.adapters.file_access import FileAccess
from trouper.adapters.workspace import Workspace


class Box:
    """The built-in tools on one directory, called and checked by name."""

    def __init__(self, root, policy=None, ask_model=None):
        self.root = root
        self.workspace = Workspace(root)
        self.policy = policy or PermissionPolicy()
        access = FileAccess(self.workspace, self.policy)
        made = [
            *tools_files.make(self.workspace, self.policy, access),
            *tools_text.make(self.workspace, self.policy, ask_model, access),
            *tools_calc.make(),
            *tools_reply.make(),
        ]
        self.tools = {tool.name: tool for tool in made}

    async def call(self, name, **parameters):
        return await self.tools[name].call(parameters, ToolContext(workspace=str(self.root)))

    async def verify(self, name, result, **parameters):
        return await self.tools[name].verify(parameters, result, self.workspace)


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


@pytest.fixture
def make_box(tmp_path):
    def make(root=tmp_path, **options):
        return Box(root, **options)

    return make


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    inside = tmp_path / "inside"
    (inside / "sub" / "deep").mkdir(parents=True)
    (inside / "a.txt").write_text("alpha")
    (inside / "sub" / "b.txt").write_text("beta")
    (inside / "link_in").symlink_to("sub")
    (inside / "link_file").symlink_to("a.txt")
    (inside / "link_out").symlink_to("../outside")
    (inside / "link_secret").symlink_to("../outside/secret.txt")
    (inside / "dangling_out").symlink_to("../outside/none")
    (inside / "dangling_in").symlink_to("sub/none")
    (inside / "absolute_out").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to("loop")
    (inside / "sub" / "up").symlink_to("..")
    return inside


@pytest.fixture
def ws(tree):
    return Workspace(tree)


class Reports:
    """A place for calls, and what it was told."""

    def __init__(self, block_limit=1e9):
        self.blocked = []
        self.dismissed = []
        self.place = ToolPlace(
            block_limit=block_limit,
            on_blocked=lambda tool, ctx, seconds: self.blocked.append((tool.name, ctx.step_id, seconds)),
            on_dismissed=lambda tool, ctx: self.dismissed.append((tool.name, ctx.step_id)),
        )


@pytest.fixture
def make_reports():
    return Reports
