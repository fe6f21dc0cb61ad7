"""Save, load and delete a report and a workspace: needs wandb-workspaces, which fersweep does not."""

import wandb


def main() -> None:
    """Do all of it."""
    from wandb_workspaces.reports.v2 import P, Report
    from wandb_workspaces.workspaces import Workspace

    wandb.init(project="contract").finish()
    report = Report(project="contract", entity="local", title="Ten runs", blocks=[P("Why")])
    report.save()
    again = Report.from_url(report.url)
    again.title = "Eleven runs"
    again.save()
    workspace = Workspace(name="Curves", entity="local", project="contract", sections=[])
    workspace.save()
    Workspace.from_url(workspace.url)
    again.delete()


if __name__ == "__main__":
    main()
