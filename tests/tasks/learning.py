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


def learned_by_heart(task, batch, steps, enough, rate=0.02):
    """A model that has read one batch until its loss is below ``enough``, or for all ``steps``.

    Args:
        task: the task.
        batch: the batch.
        steps: the largest number of steps.
        enough: the loss at which the learning ends.
        rate: the learning rate of Adam.
    """
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        loss = task.loss(model, batch).mean
        if loss < enough:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model
