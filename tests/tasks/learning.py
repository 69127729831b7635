"""Models that have learned the few examples of a test."""

import torch


def learned(task, steps, rate=0.02):
    """A model that has read the training again and again, until it has taken ``steps`` steps.

    The last epoch is read to its end.

    Args:
        task: the task.
        steps: the number of steps, one for each batch.
        rate: the learning rate of Adam.
    """
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), rate)
    batches = task.batches("train")
    while steps > 0:
        for batch in batches:
            loss = task.loss(model, batch).mean
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps -= 1
    return model
