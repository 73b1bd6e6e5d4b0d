"""Links and webhooks of the home on AWS: in the data folder of the machine that serves, and nothing of it is asked."""

from __future__ import annotations

from pathlib import Path

from contentplatform import config
from contentplatform.accounts.port import Role, machine
from contentplatform.app import open_aws
from contentplatform.sharing.port import ShareDraft, Target, TargetKind, UploadLinkDraft
from fakes.accounts import PASSWORD


def test_links_are_kept_in_the_data_folder_together_with_accounts(tmp_path: Path) -> None:
    settings = config.load(data_folder=tmp_path, environment={"CONTENTPLATFORM_AWS_ACCOUNT_ID": "123456789012"})
    home = open_aws(settings)
    assert list(tmp_path.iterdir()) == []
    _, hook = home.platform.webhooks.add("https://hooks.example/", [], "u1", after=0)
    assert home.platform.accounts.users() == ()
    maker = home.platform.accounts.add_user("emil", PASSWORD, Role.EDITOR, by=machine("tests"))
    secret, share = home.platform.shares.create_share(ShareDraft(Target(TargetKind.FOLDER, "a")), maker.id)
    upload_secret, link = home.platform.shares.create_upload_link(UploadLinkDraft("in"), maker.id)
    home.close()
    again = open_aws(settings)
    assert again.platform.shares.open_share(secret) == share
    assert again.platform.shares.open_upload_link(upload_secret) == link
    assert again.platform.webhooks.all() == (hook,)
    again.platform.accounts.disable(maker.id, by=machine("tests"))
    assert again.platform.shares.open_share(secret) is None
    assert again.platform.shares.open_upload_link(upload_secret) is None
    again.close()
    again.close()
